import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.lesion.quantization.int8 import Convolution

magnitudes = st.floats(2.0**-100, 2.0**10, width=32)


@given(largest=magnitudes | st.just(0.0), bias=magnitudes, input_step=st.floats(1e-8, 1.0))
def test_a_bias_fits_an_int32_and_a_kernel_a_byte(largest: float, bias: float, input_step: float):
    kernel_OCHW = np.array([largest, -largest / 2], np.float32).reshape(1, 2, 1, 1)
    one = Convolution(kernel_OCHW=kernel_OCHW, bias_O=np.array([-bias], np.float32))

    whole_OCHW, step_O = one.rounded(input_step)

    steps = np.rint(one.bias_O.astype(np.float64) / (step_O.astype(np.float64) * input_step))
    assert abs(steps[0]) < 2**31 - 2**15 * 255 * 127  # and what is summed up before it is added
    assert abs(steps[0] * step_O[0] * input_step + bias) <= 0.51 * step_O[0] * input_step + 1e-6 * bias
    assert np.abs(whole_OCHW.astype(int)).max() <= 127


def test_a_kernel_keeps_all_its_steps_where_the_bias_fits():
    kernel_OCHW = np.array([0.5, -0.25], np.float32).reshape(1, 2, 1, 1)
    one = Convolution(kernel_OCHW=kernel_OCHW, bias_O=np.array([3.0], np.float32))

    whole_OCHW, step_O = one.rounded(0.01)

    assert step_O[0] == np.float32(0.5 / 127)
    assert whole_OCHW.ravel().tolist() == [127, -64]
