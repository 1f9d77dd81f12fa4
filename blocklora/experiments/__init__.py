"""The paper's claims as commands: `python -m blocklora benchmark NAME`. Each writes its rows as JSON, CSV and Markdown.

Nothing else in the house depends on this room.
"""
