"""Getting MVTec AD: from its maker, or out of an archive or folder that is at hand."""
