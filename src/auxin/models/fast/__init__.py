"""The hand-written step of the layers that it supports; it is held equal to autograd by a test."""
