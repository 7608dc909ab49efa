"""Unpack photos from an HDF5 file: keys are ids, values are JPEG files."""

import io
from collections.abc import Iterable, Iterator

import h5py
import numpy as np

from models import storage
from train.data.ingest.tables import IngestError

SUFFIXES = (".hdf5", ".h5")


def unpack_photos(container: str, images: Iterable[str], folder: str) -> Iterator[str]:
    """Write the named photos into a folder and yield their addresses; missing ones are ignored.

    Raises:
        IngestError: ``container`` is no HDF5 file.
        models.storage.StorageError: the file cannot be read or a photo cannot be written.
    """
    file = io.BytesIO(storage.read_bytes(container)) if storage.is_remote(container) else container
    try:
        photos = h5py.File(file, "r")
    except OSError as error:
        raise IngestError(f"{container} is no HDF5 file of photos; download it again") from error
    with photos:
        for image in dict.fromkeys(images):
            found = photos.get(image) if image and "/" not in image else None
            if isinstance(found, h5py.Dataset):
                address = storage.join(folder, f"{image}.jpg")
                storage.write_bytes(address, np.asarray(found[()]).tobytes())
                yield address
