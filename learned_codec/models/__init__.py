"""The models. `transforms.py` and `entropy_model.py` are what training learns; `exact.py` and `model.py` code with it.

config -> layers -> transforms, entropy_model -> network (training)
                    weights, exact, coding -> model (coding) -> registry (the models in this package)
"""
