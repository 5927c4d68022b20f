"Topological feature entropy of the units of convolutional networks, beside its controls."
from featent.images import Images, check_disjoint, corrupt_labels, describe_transform, hold_out, images, preprocess
from featent.networks import accuracy, list_networks, network, preprocessing, random_twin, recalibrate, shuffled_twin, train, weights_hash
from featent.activations import list_layers, read_maps, select_layers, stream
from featent.filtrations import betti_curves, births, diagrams, levels
from featent.nulls import shuffle_pixels
from featent.preflight import check
from featent.indicators import INDICATORS, SUMMARIES, indicators, kernel_l1, map_summaries
from featent.contrast import class_shares, contrasts, layer_share
from featent.entropy import birth_distribution, feature_entropy, score_table, selective_rate, status, summarise
from featent.uncertainty import ESTIMATORS, convergence, entropy_estimates, plot_convergence
from featent.significance import excess_test, false_discovery, twin_test
from featent.information import class_information
from featent.store import merge, open_store, shard_states
from featent.assess import Result, assess, estimate, fill, load, save, tabulate, versions
from featent.evidence import coarsen, depth_trends, excess, indicator_table, information, intervals, profiles
from featent.plots import plot, plot_births, plot_profile, plot_units
from featent.comparison import match_scale, plot_auc, plot_correlations, plot_separation, rank_correlations, separation
from featent.training import assess_checkpoints, follow, monitor, plot_training
from featent.zoo import load_network, read_zoo, set_a, set_b, train_zoo
from featent.generalization import compare_networks, gap_correlations, network_rows, plot_class_scatter, plot_gap, plot_network_profiles, weight_measures
from featent.rescaling import check_rescaling, halve_filters, halve_images, rescale, rescaling_groups
from featent.ablation import ablate, area, change_points, compare_areas, masked_scores, plot_ablation, turning_points, unit_orders
from featent.roles import contributions, plot_roles, role_shares, stability, useful_units
from featent.pruning import entropy_importance, plot_prune_curve, prune, prune_curve, score_differences, unit_importance
from featent.patterns import depth_advice, depth_trials, layer_falls, linear_stack, pattern_entropy, pattern_information, pattern_profile
from featent.patterns import plot_pattern_profile, plot_patterns, unit_means
from featent.unit_views import load_views, save_views, unit_maps
from featent.explorer import explore_layers, explore_units
from featent.explorers import explore
from featent.runs import run, sweep
from featent.magics import _jupyter_labextension_paths as _jupyter_labextension_paths, load_ipython_extension as load_ipython_extension

__version__ = versions()["featent"] or "0+unknown"
__all__ = ["Images", "check_disjoint", "corrupt_labels", "describe_transform", "hold_out", "images", "preprocess",
           "accuracy", "list_networks", "network", "preprocessing", "random_twin", "recalibrate", "shuffled_twin", "train", "weights_hash",
           "list_layers", "read_maps", "select_layers", "stream",
           "betti_curves", "births", "diagrams", "levels", "shuffle_pixels",
           "check",
           "INDICATORS", "SUMMARIES", "indicators", "kernel_l1", "map_summaries",
           "class_shares", "contrasts", "layer_share",
           "birth_distribution", "feature_entropy", "score_table", "selective_rate", "status", "summarise",
           "ESTIMATORS", "convergence", "entropy_estimates", "plot_convergence",
           "excess_test", "false_discovery", "twin_test", "class_information",
           "merge", "open_store", "shard_states",
           "Result", "assess", "estimate", "fill", "load", "save", "tabulate", "versions",
           "coarsen", "depth_trends", "excess", "indicator_table", "information", "intervals", "profiles",
           "plot", "plot_births", "plot_profile", "plot_units",
           "match_scale", "plot_auc", "plot_correlations", "plot_separation", "rank_correlations", "separation",
           "assess_checkpoints", "follow", "monitor", "plot_training",
           "load_network", "read_zoo", "set_a", "set_b", "train_zoo",
           "compare_networks", "gap_correlations", "network_rows", "plot_class_scatter", "plot_gap", "plot_network_profiles", "weight_measures",
           "check_rescaling", "halve_filters", "halve_images", "rescale", "rescaling_groups",
           "ablate", "area", "change_points", "compare_areas", "masked_scores", "plot_ablation", "turning_points", "unit_orders",
           "contributions", "plot_roles", "role_shares", "stability", "useful_units",
           "entropy_importance", "plot_prune_curve", "prune", "prune_curve", "score_differences", "unit_importance",
           "depth_advice", "depth_trials", "layer_falls", "linear_stack", "pattern_entropy", "pattern_information", "pattern_profile",
           "plot_pattern_profile", "plot_patterns", "unit_means",
           "load_views", "save_views", "unit_maps",
           "explore", "explore_layers", "explore_units",
           "run", "sweep"]
