"""The main job on sample data: two archives, the gateway between them and a modality, in a temporary folder."""
