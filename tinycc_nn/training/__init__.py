"""From the IR to torch and back: training of float and of quantized networks. The extra `train`."""
