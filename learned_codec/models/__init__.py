"""Analysis, entropy model and synthesis: `transforms.py` and `entropy_model.py` to train, `exact.py` to code.

config -> layers -> transforms, entropy_model -> network (training)
                    weights, exact -> model (coding) -> registry (the models in this package)
"""
