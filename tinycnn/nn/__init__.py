"""The mathematics: layers, loss, optimizers, and a network's weights in a file."""

from tinycnn.nn.layers import BatchNorm2D as BatchNorm2D
from tinycnn.nn.layers import Conv2D as Conv2D
from tinycnn.nn.layers import Dense as Dense
from tinycnn.nn.layers import Dropout as Dropout
from tinycnn.nn.layers import Flatten as Flatten
from tinycnn.nn.layers import GlobalAveragePool2D as GlobalAveragePool2D
from tinycnn.nn.layers import Layer as Layer
from tinycnn.nn.layers import MaxPool2D as MaxPool2D
from tinycnn.nn.layers import Parameter as Parameter
from tinycnn.nn.layers import ReLU as ReLU
from tinycnn.nn.losses import softmax as softmax
from tinycnn.nn.losses import softmax_cross_entropy as softmax_cross_entropy
from tinycnn.nn.optim import SGD as SGD
from tinycnn.nn.optim import Adam as Adam
from tinycnn.nn.optim import cosine as cosine
from tinycnn.nn.optim import one_cycle as one_cycle
from tinycnn.nn.sequential import Sequential as Sequential
