"""Background jobs as folders: a specification, typed events, a heartbeat and a control file.

A worker is a detached process that owns everything heavy; whoever looks on (a window, the command line, a second window)
only reads the folder. Closing, reloading or restarting the onlooker changes nothing.
"""
