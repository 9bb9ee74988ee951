"""Support vector machines for few rows: linear on very many columns, RBF-χ² on histograms.

Both solve their dual problems on a matrix of all pairs of training rows, which is computed once for
all classes, for all folds of a cross-validation and, summed, for any subset of descriptors.
"""

from idt.svm.chi_square import ChiSquareSVM, chi_square_distances
from idt.svm.gram import cross_gram, gram_matrix
from idt.svm.linear import LinearSVM
from idt.svm.one_versus_rest import NotConvergedWarning

__all__ = [
    "ChiSquareSVM",
    "LinearSVM",
    "NotConvergedWarning",
    "chi_square_distances",
    "cross_gram",
    "gram_matrix",
]
