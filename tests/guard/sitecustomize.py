"""Python imports this by itself when its folder is on PYTHONPATH: child processes of the tests get the network guard too."""

import no_network

no_network.install()
