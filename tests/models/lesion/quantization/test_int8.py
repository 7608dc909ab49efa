import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.lesion.quantization.int8 import Convolution

magnitudes = st.floats(2.0**-100, 2.0**10, width=32)


@given(largest=magnitudes | st.just(0.0), bias=magnitudes, input_scale=st.floats(1e-8, 1.0))
def test_biases_fit_an_int32_and_kernels_an_int8(largest: float, bias: float, input_scale: float):
    kernel_OCHW = np.array([largest, -largest / 2], np.float32).reshape(1, 2, 1, 1)
    one = Convolution(kernel_OCHW=kernel_OCHW, bias_O=np.array([-bias], np.float32))

    int8_OCHW, scale_O = one.quantize(input_scale)

    steps = np.rint(one.bias_O.astype(np.float64) / (scale_O.astype(np.float64) * input_scale))
    assert abs(steps[0]) < 2**31 - 2**15 * 255 * 127  # leaves room for the sum of products
    assert abs(steps[0] * scale_O[0] * input_scale + bias) <= 0.51 * scale_O[0] * input_scale + 1e-6 * bias
    assert np.abs(int8_OCHW.astype(int)).max() <= 127


def test_a_kernel_uses_the_whole_int8_range_where_the_bias_fits():
    kernel_OCHW = np.array([0.5, -0.25], np.float32).reshape(1, 2, 1, 1)
    one = Convolution(kernel_OCHW=kernel_OCHW, bias_O=np.array([3.0], np.float32))

    int8_OCHW, scale_O = one.quantize(0.01)

    assert scale_O[0] == np.float32(0.5 / 127)
    assert int8_OCHW.ravel().tolist() == [127, -64]
