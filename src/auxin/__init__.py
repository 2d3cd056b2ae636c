"""Predict from its initialization whether a transformer will train, train it, watch structure emerge."""
