"""Mean-field theory of random transformers: what the hyperparameters at initialization imply."""
