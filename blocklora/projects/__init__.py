"""Projects: the store of classes and images, the intake that fills it, snapshots and splits for training.

Light: nothing here imports torch. Import from the modules (`library`, `project`, `intake`, `dataset`, `splits`, `decoding`);
this file stays empty so that the decoding child starts quickly.
"""
