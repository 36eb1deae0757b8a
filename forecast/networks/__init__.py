"""One description of a network, and what runs it: cells, heads, Keras layers, NumPy inference."""
