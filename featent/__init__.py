"An honest score for every unit of a convolutional network: topological feature entropy."
from featent.images import Images, check_disjoint, corrupt_labels, describe_transform, hold_out, images, preprocess
from featent.networks import accuracy, list_networks, network, preprocessing, random_twin, train, weights_hash
from featent.activations import list_layers, read_maps, select_layers, stream
from featent.filtrations import betti_curves, births, diagrams, levels
from featent.nulls import shuffle_pixels
from featent.indicators import INDICATORS, SUMMARIES, indicators, kernel_l1, map_summaries
from featent.entropy import birth_distribution, feature_entropy, score_table, selective_rate, status, summarise
from featent.uncertainty import ESTIMATORS, convergence, entropy_estimates, plot_convergence
from featent.significance import excess_test, false_discovery, twin_test
from featent.information import class_information
from featent.store import merge, open_store, shard_states
from featent.assess import Result, assess, estimate, fill, load, save, tabulate, versions
from featent.evidence import coarsen, depth_trends, excess, indicator_table, information, intervals, profiles
from featent.plots import plot, plot_births, plot_profile, plot_units
from featent.comparison import match_scale, plot_auc, plot_correlations, plot_separation, rank_correlations, separation
from featent.rescaling import check_rescaling, rescale, rescaling_groups
from featent.runs import run, sweep

__version__ = versions()["featent"] or "0+unknown"
__all__ = ["Images", "check_disjoint", "corrupt_labels", "describe_transform", "hold_out", "images", "preprocess",
           "accuracy", "list_networks", "network", "preprocessing", "random_twin", "train", "weights_hash",
           "list_layers", "read_maps", "select_layers", "stream",
           "betti_curves", "births", "diagrams", "levels", "shuffle_pixels",
           "INDICATORS", "SUMMARIES", "indicators", "kernel_l1", "map_summaries",
           "birth_distribution", "feature_entropy", "score_table", "selective_rate", "status", "summarise",
           "ESTIMATORS", "convergence", "entropy_estimates", "plot_convergence",
           "excess_test", "false_discovery", "twin_test", "class_information",
           "merge", "open_store", "shard_states",
           "Result", "assess", "estimate", "fill", "load", "save", "tabulate", "versions",
           "coarsen", "depth_trends", "excess", "indicator_table", "information", "intervals", "profiles",
           "plot", "plot_births", "plot_profile", "plot_units",
           "match_scale", "plot_auc", "plot_correlations", "plot_separation", "rank_correlations", "separation",
           "check_rescaling", "rescale", "rescaling_groups", "run", "sweep"]
