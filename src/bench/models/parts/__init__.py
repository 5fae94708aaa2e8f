"""What several methods share: backbones and their weights, statistics, neighbours, maps, losses."""
