"""The Chinese Mammography Database as code: label sheet, images, known doubts, the published split, the check."""
