"""Mapping: whole scenes to rasters, polygons and styles."""

from lmhld_nb.mapping.candidates import LearnSettings
from lmhld_nb.mapping.inputs import MapSettings, scene_of_file
from lmhld_nb.mapping.labelled import LabelFile
from lmhld_nb.mapping.learning import learn
from lmhld_nb.mapping.maps import map_scene

__all__ = ["LabelFile", "LearnSettings", "MapSettings", "learn", "map_scene", "scene_of_file"]
