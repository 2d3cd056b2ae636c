"""Networks as they are described: a module a part, a stack, a language model, many of them trained as one."""
