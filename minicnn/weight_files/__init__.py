"""Weight files of torch and torchvision: read without torch, converted to archives, downloaded."""
