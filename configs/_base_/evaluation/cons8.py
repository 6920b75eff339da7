# Top-1 and Cons.8 (Table 2). Validation takes the headline's protocol, a test all of them in one pass.
val_cfg = dict(type='mmposenc.ShiftConsistencyLoop', max_shifts=[8], protocols=['zero_ref'])
val_evaluator = dict(type='mmposenc.ShiftConsistencyMetric')
test_cfg = dict(
    type='mmposenc.ShiftConsistencyLoop',
    max_shifts=[8],
    protocols=['zero_ref', 'zero_pair', 'roll_ref', 'roll_pair', 'reflect_ref', 'reflect_pair'],
)
test_evaluator = val_evaluator
