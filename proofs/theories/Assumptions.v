(** Prints the axioms that the theorems of each Statements*.v rest on. Written by assumptions.py; not in the build. *)
From refattn Require StatementsAlgebra StatementsArithmetics StatementsAttention StatementsBlockScales StatementsExponential StatementsExtended StatementsExtendedGradients StatementsFormats StatementsForward StatementsGradients StatementsGradientsRational StatementsOverflow StatementsPrograms StatementsRms StatementsRoundoff StatementsSchedule StatementsScores StatementsSoftmax StatementsSplits StatementsThreeWords StatementsWords.

Definition every_theorem_of_algebra := (
  StatementsAlgebra.merge_comm,
  StatementsAlgebra.merge_assoc,
  StatementsAlgebra.spec_app,
  StatementsAlgebra.online_spec,
  StatementsAlgebra.tree_state_spec,
  StatementsAlgebra.output_is_weighted_mean,
  StatementsAlgebra.masked_online_spec,
  StatementsAlgebra.masked_spec_app,
  StatementsAlgebra.nothing_visible,
  StatementsAlgebra.invisible_part,
  StatementsAlgebra.invisible_contents,
  StatementsAlgebra.masked_sum).
Locate every_theorem_of_algebra.
Print Assumptions every_theorem_of_algebra.

Definition every_theorem_of_arithmetics := (
  StatementsArithmetics.arithmetic_of_ok,
  StatementsArithmetics.correctly_rounded_exponential,
  StatementsArithmetics.ulps_exponential,
  StatementsArithmetics.flushed_ulps_exponential,
  StatementsArithmetics.rounded_arithmetic_ok,
  StatementsArithmetics.flushing_arithmetic_ok,
  StatementsArithmetics.ulps_arithmetic_ok,
  StatementsArithmetics.flushing_ulps_arithmetic_ok,
  StatementsArithmetics.binary32_ok,
  StatementsArithmetics.binary64_ok,
  StatementsArithmetics.bfloat16_ok,
  StatementsArithmetics.binary16_ok,
  StatementsArithmetics.binary32_truncated_ok,
  StatementsArithmetics.binary32_flushed_ok,
  StatementsArithmetics.score32_error,
  StatementsArithmetics.binary32_attention,
  StatementsArithmetics.dot32_in_range,
  StatementsArithmetics.normaliser32_in_range,
  StatementsArithmetics.numerator32_in_range,
  StatementsArithmetics.row_computed,
  StatementsArithmetics.output32_in_range).
Locate every_theorem_of_arithmetics.
Print Assumptions every_theorem_of_arithmetics.

Definition every_theorem_of_attention := (
  StatementsAttention.sum_against_exact_scores,
  StatementsAttention.known_normaliser_at_least,
  StatementsAttention.attention_quotient,
  StatementsAttention.attention_output,
  StatementsAttention.attention_lse,
  StatementsAttention.attention_hull,
  StatementsAttention.maximum_near,
  StatementsAttention.empty_row,
  StatementsAttention.sink_adds_nothing).
Locate every_theorem_of_attention.
Print Assumptions every_theorem_of_attention.

Definition every_theorem_of_blockscales := (
  StatementsBlockScales.softmax_of_blocks,
  StatementsBlockScales.scale_log_sum_exp,
  StatementsBlockScales.scale_of_invisible_block,
  StatementsBlockScales.scales_sum_to_1,
  StatementsBlockScales.softmax_sums_to_1,
  StatementsBlockScales.distance_exact,
  StatementsBlockScales.leaked_mass,
  StatementsBlockScales.row_sum_error,
  StatementsBlockScales.output_error,
  StatementsBlockScales.output_error_coarse,
  StatementsBlockScales.output_error_reached,
  StatementsBlockScales.no_scales_for_all_rows,
  StatementsBlockScales.block_scale_distance_dominates,
  StatementsBlockScales.block_scale_output_error_dominates,
  StatementsBlockScales.block_scale_row_sum_dominates,
  StatementsBlockScales.least_scale_distance_dominates,
  StatementsBlockScales.softmax_distance_dominates).
Locate every_theorem_of_blockscales.
Print Assumptions every_theorem_of_blockscales.

Definition every_theorem_of_exponential := (
  StatementsExponential.argument_subtract_error,
  StatementsExponential.argument_subtract_exp2_error,
  StatementsExponential.argument_fma_error,
  StatementsExponential.exponential_of_argument,
  StatementsExponential.polynomial_exp2_error,
  StatementsExponential.exponential_by_subtract,
  StatementsExponential.exponential_by_subtract_exp2,
  StatementsExponential.exponential_by_fma,
  StatementsExponential.by_subtract_ok,
  StatementsExponential.by_subtract_exp2_ok,
  StatementsExponential.by_fma_ok,
  StatementsExponential.distance_known,
  StatementsExponential.reach_known,
  StatementsExponential.argument_subtract_dominates,
  StatementsExponential.argument_subtract_exp2_dominates,
  StatementsExponential.argument_fma_dominates,
  StatementsExponential.argument_lost_dominates,
  StatementsExponential.exponential_error_dominates,
  StatementsExponential.polynomial_exp2_dominates).
Locate every_theorem_of_exponential.
Print Assumptions every_theorem_of_exponential.

Definition every_theorem_of_extended := (
  StatementsExtended.products_of_slices_exact,
  StatementsExtended.bits_for_enough,
  StatementsExtended.chunk_enough,
  StatementsExtended.leading_exact,
  StatementsExtended.weight_radius_bounded,
  StatementsExtended.output_radius_bounded,
  StatementsExtended.lse_radius_bounded,
  StatementsExtended.share_radius_bounded,
  StatementsExtended.weight_radius_dominates,
  StatementsExtended.output_radius_dominates,
  StatementsExtended.lse_radius_dominates,
  StatementsExtended.share_radius_dominates).
Locate every_theorem_of_extended.
Print Assumptions every_theorem_of_extended.

Definition every_theorem_of_extendedgradients := (
  StatementsExtendedGradients.share_error_bounded,
  StatementsExtendedGradients.slope_radius_bounded,
  StatementsExtendedGradients.score_gradient_radius_bounded,
  StatementsExtendedGradients.query_gradient_radius_bounded,
  StatementsExtendedGradients.value_weight_radius_bounded,
  StatementsExtendedGradients.gathered_radius_bounded,
  StatementsExtendedGradients.scaled_radius_bounded,
  StatementsExtendedGradients.share_error_dominates,
  StatementsExtendedGradients.slope_radius_dominates,
  StatementsExtendedGradients.score_gradient_radius_dominates,
  StatementsExtendedGradients.query_gradient_radius_dominates,
  StatementsExtendedGradients.value_weight_radius_dominates,
  StatementsExtendedGradients.gathered_radius_dominates,
  StatementsExtendedGradients.scaled_radius_dominates).
Locate every_theorem_of_extendedgradients.
Print Assumptions every_theorem_of_extendedgradients.

Definition every_theorem_of_formats := (
  StatementsFormats.nearest_relative,
  StatementsFormats.nearest_absolute,
  StatementsFormats.two_regimes_ok,
  StatementsFormats.nearest_ok,
  StatementsFormats.rounding_log_error,
  StatementsFormats.truncated_relative,
  StatementsFormats.truncated_absolute,
  StatementsFormats.truncated_ok,
  StatementsFormats.flush_ok,
  StatementsFormats.nearest_flush_ok,
  StatementsFormats.truncated_flush_ok,
  StatementsFormats.stage_ok,
  StatementsFormats.stage_flush_ok,
  StatementsFormats.stage_relative,
  StatementsFormats.stage_absolute,
  StatementsFormats.stage_flush_absolute,
  StatementsFormats.declared_exponential,
  StatementsFormats.flushed_declared_exponential,
  StatementsFormats.narrow_held,
  StatementsFormats.narrow_product_exact,
  StatementsFormats.narrow_product_normal,
  StatementsFormats.stage_cast,
  StatementsFormats.stage_flush_cast,
  StatementsFormats.cast_held,
  StatementsFormats.cast_error,
  StatementsFormats.cast_with_offset,
  StatementsFormats.cast_of_weight,
  StatementsFormats.format_unit_exact,
  StatementsFormats.format_truncation_unit_exact,
  StatementsFormats.format_smallest_normal_exact,
  StatementsFormats.format_smallest_subnormal_exact,
  StatementsFormats.format_max_finite_exact,
  StatementsFormats.cast_lost_dominates,
  StatementsFormats.weight_lost_exact,
  StatementsFormats.flushed_weight_lost_exact).
Locate every_theorem_of_formats.
Print Assumptions every_theorem_of_formats.

Definition every_theorem_of_forward := (
  StatementsForward.common_excess_exact,
  StatementsForward.normaliser_between,
  StatementsForward.normaliser_relative,
  StatementsForward.log_excess,
  StatementsForward.lse_bounded,
  StatementsForward.quotient_bounded,
  StatementsForward.output_bounded,
  StatementsForward.weighted_mean_error,
  StatementsForward.normalised_mean_error,
  StatementsForward.lost_any_order_cast,
  StatementsForward.hull_distance,
  StatementsForward.hull,
  StatementsForward.normaliser_at_least,
  StatementsForward.hull_of_parts,
  StatementsForward.sink_in_hull,
  StatementsForward.added_perturbed,
  StatementsForward.hull_any_order,
  StatementsForward.common_excess_dominates,
  StatementsForward.normaliser_error_dominates,
  StatementsForward.least_normaliser_dominates,
  StatementsForward.quotient_error_dominates,
  StatementsForward.hull_error_dominates,
  StatementsForward.cast_underflow_dominates,
  StatementsForward.output_error_dominates,
  StatementsForward.lse_error_dominates).
Locate every_theorem_of_forward.
Print Assumptions every_theorem_of_forward.

Definition every_theorem_of_gradients := (
  StatementsGradients.rounds_rounded,
  StatementsGradients.computed_sum_perturbed,
  StatementsGradients.gathered_perturbed,
  StatementsGradients.gradient_sum_error,
  StatementsGradients.p_recompute_error,
  StatementsGradients.value_weight_error_bound,
  StatementsGradients.probability_gradient_error_bound,
  StatementsGradients.delta_error_bound,
  StatementsGradients.slope_error_bound,
  StatementsGradients.score_gradient_error_bound,
  StatementsGradients.sech2_lipschitz,
  StatementsGradients.softcap_gradient_bound,
  StatementsGradients.through_softcap_bound).
Locate every_theorem_of_gradients.
Print Assumptions every_theorem_of_gradients.

Definition every_theorem_of_gradientsrational := (
  StatementsGradientsRational.score_gradient_bound,
  StatementsGradientsRational.sink_gradient_bound,
  StatementsGradientsRational.operand_bound,
  StatementsGradientsRational.dropped_weight_bound,
  StatementsGradientsRational.gradient_bound,
  StatementsGradientsRational.query_and_key_gradient_bound,
  StatementsGradientsRational.value_gradient_bound,
  StatementsGradientsRational.bias_gradient_bound,
  StatementsGradientsRational.sink_total_bound,
  StatementsGradientsRational.p_recompute_dominates,
  StatementsGradientsRational.gradient_sum_dominates,
  StatementsGradientsRational.gradient_additions_dominates,
  StatementsGradientsRational.gradient_underflow_dominates,
  StatementsGradientsRational.probability_gradient_error_dominates,
  StatementsGradientsRational.delta_error_dominates,
  StatementsGradientsRational.slope_error_dominates,
  StatementsGradientsRational.weight_error_dominates,
  StatementsGradientsRational.score_gradient_error_dominates,
  StatementsGradientsRational.softcap_gradient_dominates,
  StatementsGradientsRational.through_softcap_dominates,
  StatementsGradientsRational.value_weight_error_dominates).
Locate every_theorem_of_gradientsrational.
Print Assumptions every_theorem_of_gradientsrational.

Definition every_theorem_of_overflow := (
  StatementsOverflow.round_in_range,
  StatementsOverflow.flush_in_range,
  StatementsOverflow.limited_agrees,
  StatementsOverflow.overflowing_difference_lost,
  StatementsOverflow.perturbed_size,
  StatementsOverflow.partial_sum_in_range,
  StatementsOverflow.partial_terms_in_range,
  StatementsOverflow.output_in_range,
  StatementsOverflow.score_in_range,
  StatementsOverflow.reference_in_range,
  StatementsOverflow.schedule_in_range,
  StatementsOverflow.numerator_in_range,
  StatementsOverflow.weight_in_range,
  StatementsOverflow.normaliser_in_range,
  StatementsOverflow.largest_sum_dominates,
  StatementsOverflow.largest_numerator_dominates,
  StatementsOverflow.largest_normaliser_dominates,
  StatementsOverflow.largest_score_dominates,
  StatementsOverflow.largest_reference_dominates).
Locate every_theorem_of_overflow.
Print Assumptions every_theorem_of_overflow.

Definition every_theorem_of_programs := (
  StatementsPrograms.absorb_all_computed,
  StatementsPrograms.tiled_computed,
  StatementsPrograms.tiled_from_sink_computed,
  StatementsPrograms.tiled_counted,
  StatementsPrograms.sink_counted,
  StatementsPrograms.tiled_cost,
  StatementsPrograms.tiled_normaliser,
  StatementsPrograms.tiled_output,
  StatementsPrograms.sink_normaliser,
  StatementsPrograms.sink_output,
  StatementsPrograms.running_maximum,
  StatementsPrograms.conditional_rule,
  StatementsPrograms.last_reference_is_maximum,
  StatementsPrograms.last_reference_is_near,
  StatementsPrograms.safe_bound,
  StatementsPrograms.online_bound,
  StatementsPrograms.online_range_free).
Locate every_theorem_of_programs.
Print Assumptions every_theorem_of_programs.

Definition every_theorem_of_rms := (
  StatementsRms.uniform_mean_square,
  StatementsRms.log_uniform_density,
  StatementsRms.log_uniform_mean_square,
  StatementsRms.mean_square_of_sum,
  StatementsRms.independent_uncorrelated,
  StatementsRms.normaliser_relative,
  StatementsRms.quotient_exact,
  StatementsRms.quotient_remainder).
Locate every_theorem_of_rms.
Print Assumptions every_theorem_of_rms.

Definition every_theorem_of_roundoff := (
  StatementsRoundoff.growth_error,
  StatementsRoundoff.growth_rational,
  StatementsRoundoff.log_growth_rerr,
  StatementsRoundoff.log_growth_rational,
  StatementsRoundoff.nearest_rerr,
  StatementsRoundoff.log_error_rerr,
  StatementsRoundoff.compound_error,
  StatementsRoundoff.rounded_error,
  StatementsRoundoff.perturbed_error,
  StatementsRoundoff.growthQ_dominates,
  StatementsRoundoff.growth_dominates,
  StatementsRoundoff.log_growth_dominates,
  StatementsRoundoff.log_error_dominates,
  StatementsRoundoff.compound_dominates,
  StatementsRoundoff.rounded_dominates).
Locate every_theorem_of_roundoff.
Print Assumptions every_theorem_of_roundoff.

Definition every_theorem_of_schedule := (
  StatementsSchedule.exact_sum,
  StatementsSchedule.any_schedule,
  StatementsSchedule.any_schedule_scores,
  StatementsSchedule.cost_any_order,
  StatementsSchedule.lost_any_order,
  StatementsSchedule.subtract_ok,
  StatementsSchedule.any_schedule_subtract,
  StatementsSchedule.any_order,
  StatementsSchedule.any_order_scores,
  StatementsSchedule.normaliser_within,
  StatementsSchedule.output_within,
  StatementsSchedule.gibbs,
  StatementsSchedule.weights_with_rounded_arguments,
  StatementsSchedule.perturbed_range_free,
  StatementsSchedule.normaliser_range_free,
  StatementsSchedule.merge_computed,
  StatementsSchedule.merge_cost,
  StatementsSchedule.additions_dominates,
  StatementsSchedule.underflow_dominates,
  StatementsSchedule.log_at_most_bounds,
  StatementsSchedule.gibbs_normaliser_dominates).
Locate every_theorem_of_schedule.
Print Assumptions every_theorem_of_schedule.

Definition every_theorem_of_scores := (
  StatementsScores.tanh_slope,
  StatementsScores.softcap_slope,
  StatementsScores.computed_form,
  StatementsScores.dot_any_order_error,
  StatementsScores.scaled_score_error,
  StatementsScores.divided_score_error,
  StatementsScores.capped_score_error,
  StatementsScores.biased_score_error,
  StatementsScores.alibi_score_error,
  StatementsScores.biased_alibi_score_error,
  StatementsScores.scaled_query_error,
  StatementsScores.scaled_query_score_error,
  StatementsScores.power_of_two_exact,
  StatementsScores.power_of_two_flushed,
  StatementsScores.scaled_by_power_of_two_error,
  StatementsScores.scaled_pipeline_error,
  StatementsScores.query_pipeline_error,
  StatementsScores.dot_any_order_dominates,
  StatementsScores.scaled_score_dominates,
  StatementsScores.scaled_query_dominates,
  StatementsScores.scaled_query_score_dominates,
  StatementsScores.divided_score_dominates,
  StatementsScores.capped_score_dominates,
  StatementsScores.biased_score_dominates,
  StatementsScores.alibi_score_dominates,
  StatementsScores.biased_alibi_score_dominates).
Locate every_theorem_of_scores.
Print Assumptions every_theorem_of_scores.

Definition every_theorem_of_softmax := (
  StatementsSoftmax.softmax_bounded,
  StatementsSoftmax.log_softmax_bounded,
  StatementsSoftmax.log_sum_exp_bounded,
  StatementsSoftmax.softmax_error_dominates,
  StatementsSoftmax.log_softmax_error_dominates,
  StatementsSoftmax.log_sum_exp_error_dominates).
Locate every_theorem_of_softmax.
Print Assumptions every_theorem_of_softmax.

Definition every_theorem_of_splits := (
  StatementsSplits.combine_by_quotient,
  StatementsSplits.combine_by_log_sum_exp,
  StatementsSplits.tree_stands,
  StatementsSplits.split_lse_rounding_error,
  StatementsSplits.part_logarithm,
  StatementsSplits.added_scaled,
  StatementsSplits.split_gap_of_largest,
  StatementsSplits.split_gap_of_combined,
  StatementsSplits.split_weight_error,
  StatementsSplits.log_sum_exp_products,
  StatementsSplits.softmax_distance_bounds,
  StatementsSplits.reference_size,
  StatementsSplits.weighted_lost_bound,
  StatementsSplits.total_lost_bound,
  StatementsSplits.split_lse_rounding_dominates,
  StatementsSplits.split_gap_dominates,
  StatementsSplits.split_error_dominates,
  StatementsSplits.split_output_error_dominates,
  StatementsSplits.split_lost_dominates,
  StatementsSplits.split_apart_dominates).
Locate every_theorem_of_splits.
Print Assumptions every_theorem_of_splits.

Definition every_theorem_of_threewords := (
  StatementsThreeWords.quotient_near,
  StatementsThreeWords.multiply_falling,
  StatementsThreeWords.add_words_error,
  StatementsThreeWords.scaled_near,
  StatementsThreeWords.products_near,
  StatementsThreeWords.score_near,
  StatementsThreeWords.sliced_score_near,
  StatementsThreeWords.subtract_near,
  StatementsThreeWords.gradient_product_near,
  StatementsThreeWords.height_enough).
Locate every_theorem_of_threewords.
Print Assumptions every_theorem_of_threewords.

Definition every_theorem_of_words := (
  StatementsWords.two_sum_exact,
  StatementsWords.ordered_sum_exact,
  StatementsWords.two_product_lost,
  StatementsWords.three_sum_exact,
  StatementsWords.sum_error_held,
  StatementsWords.two_product_exact,
  StatementsWords.multiply_error,
  StatementsWords.add_all_error,
  StatementsWords.row_dots_error,
  StatementsWords.multiply_words,
  StatementsWords.multiply_add_error,
  StatementsWords.exponential_near,
  StatementsWords.whole_exponential_near,
  StatementsWords.weight_near,
  StatementsWords.logarithm_near,
  StatementsWords.difference_near,
  StatementsWords.sliced_exact,
  StatementsWords.cut_near,
  StatementsWords.slices_left_out,
  StatementsWords.level_size,
  StatementsWords.add_exactly_exact).
Locate every_theorem_of_words.
Print Assumptions every_theorem_of_words.
