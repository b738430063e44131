"""The sections of `compare.py`: each has ``run(arguments)``, which returns Markdown."""
