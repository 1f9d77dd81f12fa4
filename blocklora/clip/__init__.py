"""CLIP models: which there are (`catalog`, light), loading them (`backbones`), and turning prompts and images into features (`prompts`).

The only room that imports open_clip.
"""
