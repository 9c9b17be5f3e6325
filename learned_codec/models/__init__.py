"""Analysis, entropy model and synthesis: `hyperprior.py` and `resnet_lite.py` to train, `exact.py` to code.

config -> resnet_lite, hyperprior -> network (training)
                    weights, exact -> runtime (coding) -> registry (the models in this package)
"""
