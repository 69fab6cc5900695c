"""Where images come from: what each kind of source can give for a category, as prompts.

The driver's side only: nothing is generated, fetched or decoded here; `stages` do that. A prompt's `uri`
says where its image is, without saying where the source itself lies:

    folder, cutouts   the file's path, relative to the folder or to the index file
    webdataset        the tar, the member in it and its bytes: 00000.tar#000000012.jpg@1536+28113
    candidates        unit and candidate of the earlier run: 00000/unit-00003#45-0-1f0c77aa
    images            as folder; see `labelled`
    annotated         the dataset's name of the image, and the annotation's id: train2017/000000000009.jpg#42
    web, search       the URL
"""
