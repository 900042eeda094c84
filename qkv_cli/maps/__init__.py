"""Head maps: selected, averaged, windowed and merged."""
