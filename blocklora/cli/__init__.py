"""The commands of `python -m blocklora`. Like app.py, this is where the exporter and the predictor are put in place."""
