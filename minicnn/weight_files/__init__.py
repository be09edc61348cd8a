"""Other people's weights: read without torch, converted, downloaded."""
