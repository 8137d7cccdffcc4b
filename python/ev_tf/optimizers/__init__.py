"""How stock optimizers update an embedding variable: their hyperparameters, handed to one fused op a step."""
