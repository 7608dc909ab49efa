from serve.app import with_derived_limits
from serve.config import ApiConfig


def test_the_gateway_takes_what_fills_the_batches_unless_it_is_told():
    large = with_derived_limits(
        ApiConfig.model_validate({"lesion": {"max_batch_size": 64}, "face": {"max_batch_size": 32}})
    )
    told = with_derived_limits(ApiConfig.model_validate({"gateway": {"max_spots": 5}}))

    assert (large.max_spots, large.batch_concurrency, large.bundle_from, large.max_faces) == (128, 64, 64, 64)
    assert (told.max_spots, told.batch_concurrency, told.max_faces) == (5, 8, 60)
