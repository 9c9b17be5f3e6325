"""Files on disk: pictures and rasters, with their metadata and georeference."""
