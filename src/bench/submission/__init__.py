"""What MVTec's server evaluates of a method on MVTec AD 2: the maps of the test images whose masks nobody else has."""
