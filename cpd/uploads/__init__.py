"""Files that come from a browser: checked in a limited process of their own, then kept in the project's folder.

    receive.py      what the app calls: a file in, a path of ours out; torch-free
    child.py        starts the checker, waits a limited time, reads its one line
    check.py        the checker: `python -m cpd.uploads.check KIND FILE FOLDER NAME`
    limits.py       every number that bounds an upload
    fence.py        what the checker's process may no longer do
    tensors.py      headers and values of a safetensors file, byte by byte
    state_dict.py   what a torch.save file names, before torch reads it; then its tensors as safetensors
    archive.py      the table of contents of a zip
    shapes.py       what the model takes, so that weights that do not fit are refused as they arrive
    build.py        the process that tells it: `python -m cpd.uploads.build FOLDER`
    layout.py       which entries are images and masks, and the names of ours that they get
    scenes.py       the same for the layouts of ADE20K, Cityscapes and VOC, by the code that reads folders of them
    place.py        where a file goes
    picture.py      one image decoded
    unpack.py       an archive of images into a folder

Nothing of a file's name becomes part of a path: names on disk are made here.
"""
