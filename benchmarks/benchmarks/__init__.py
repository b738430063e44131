"""The asv suite: how this library's own speed changes from commit to commit."""
