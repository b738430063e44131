"""Models of other libraries, and ours as theirs: files of ONNX, modules of torch.

Both walk the places of a network's graph; a layer that one of them does not know is refused by its
name. The libraries are extras, imported when they are asked for.
"""
