"""Block-LoRA: the update (`block`), where it attaches (`layout`, `attach`), and the file it is kept in (`adapter_file`)."""
