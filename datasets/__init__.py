"""What lies on disk: layouts, captions, splits, boxes and masks, stored descriptors."""
