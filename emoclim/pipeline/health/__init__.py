"""Tell whether an encoder is sound: the step behind `emoclim encoders NAME --check`."""
