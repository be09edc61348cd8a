"""Numbers with their noun, for messages."""


def counted(count, noun):
    """The number and the noun, in the plural unless the number is 1.

    >>> counted(1, "image"), counted(2, "image"), counted(0, "epoch")
    ('1 image', '2 images', '0 epochs')
    """
    return f"{count} {noun}{'s' * (count != 1)}"
