"""One-step maps over many steps: open loop on measured outputs, closed loop on their own."""
