"""The material of the study `mini-lvis`: the 32 categories that the embedded generator draws, in rendered
photographs with exact masks."""
