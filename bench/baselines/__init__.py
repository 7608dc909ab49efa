"""What others would serve our network with, each as its documentation recommends, in ``.venv-baselines``."""
