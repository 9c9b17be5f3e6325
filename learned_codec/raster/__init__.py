"""Files on disk: pictures and rasters, what lies beside their pixels, and where they lie on the ground."""
