"""Images with a bounded error, down to none: tiles of samples into bytes and back. No networks, no engine.

    from learned_codec.bounded.tile import decode_tile, encode_tile

    payload = encode_tile(values, valid, bounds)
    values = decode_tile(payload, shape, dtype, valid)

A tile is coded from coarse to fine. Known pixels predict those between them (`lattice`, `predictor`), and the residuals
are coded in whole steps. All of this is integer arithmetic, so every machine decodes the same.
"""
