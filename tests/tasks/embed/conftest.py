"""Small weights with a classifier, and a folder of images, two of which are none."""

from embed_fixtures import photos as photos
from embed_fixtures import weights as weights
