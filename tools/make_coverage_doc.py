"""Writes docs/coverage.md: which public families of models the op table serves, and which of TensorFlow's ops it leaves out.

`text()` is what the page must say; tests/test_documents.py holds the committed page against it. The ops of a family are written
from its architecture (and from the graphs of models of it that were at hand); what is covered or missing is computed. Needs no
TensorFlow.
"""
# ruff: noqa: E501 -- lists of names, a family a line

import json
import re
import sys
from pathlib import Path

import thaw.lowering.table  # noqa: F401  (fills the registry)
from thaw.lowering.registry import LOWERINGS

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "coverage.md"
NAMES = ROOT / "tests" / "golden" / "op_names.json"

BY_PASSES = frozenset(
    {"Const", "Placeholder", "PlaceholderV2", "Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond", "ControlTrigger",
     "RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration", "XlaIf", "XlaWhile"}
)  # fmt: skip
"""Ops that no lowering meets: values and inputs of the graph, and control flow that becomes functional when it is read."""

BASE = (
    "Const Placeholder Identity IdentityN NoOp ReadVariableOp VarHandleOp StatefulPartitionedCall PartitionedCall Cast Reshape \
Shape StridedSlice Pack ConcatV2 ExpandDims Squeeze Fill Mul AddV2 Sub Maximum Minimum"
)
CNN = (
    f"{BASE} Conv2D BiasAdd DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV3 Relu Relu6 MaxPool AvgPool Mean MatMul Pad Softmax \
Rsqrt RealDiv Sigmoid"
)
BERT = f"{BASE} GatherV2 ResourceGather Einsum BatchMatMulV2 BatchMatMulV3 MatMul BiasAdd Softmax Erf Tanh Pow Sqrt Rsqrt Mean \
SquaredDifference StopGradient OneHot Transpose Range Tile Neg"
SPLIT = "StringSplitV2 StringSplit StaticRegexReplace RegexReplace StringLower LookupTableFindV2 HashTableV2 Where SparseToDense"
RAGGED = "RaggedTensorToTensor RaggedGather RaggedRange RaggedTensorToSparse RaggedTensorToVariant RaggedTensorFromVariant Cumsum"
LOOP = "While StatelessWhile If StatelessIf TensorListReserve TensorListSetItem TensorListGetItem TensorListStack TensorListFromTensor"
LOOP_V1 = "Enter Exit Switch Merge NextIteration LoopCond TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 TensorArrayGatherV3 \
TensorArrayScatterV3 TensorArraySizeV3"
BOXES = "NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 CombinedNonMaxSuppression TopKV2 \
CropAndResize ResizeBilinear ResizeNearestNeighbor GatherNd GatherV2 ScatterNd Where Unpack Split SplitV Greater GreaterEqual Less LogicalAnd \
LogicalOr Exp Round Max Min ArgMax ClipByValue Slice Tile ReverseV2"
SENTENCE_PIECE = "SentencepieceOp SentencepieceTokenizeOp SentencepieceTokenizeWithOffsetsOp SentencepieceDetokenizeOp"

FAMILIES: dict[str, dict[str, str]] = {
    "Image classification and feature vectors": {
        "MobileNet v1-v2, Inception v1-v3, ResNet v1-v2, VGG, NASNet, PNASNet, AmoebaNet": CNN,
        "MobileNet v3, EfficientNet v1-v2, EfficientNet-Lite": f"{CNN} ResizeBilinear",
        "BiT (ResNet v2 with group normalization and standardized weights)": f"{CNN} Sum Square SquaredDifference SpaceToBatchND",
        "ViT, MLP-Mixer, Swin, DeiT, ConvNeXt as Keras or `jax2tf` without XLA exports": f"{BERT} Conv2D Roll Split Erfc Erf Sum Max Exp",
        "`jax2tf` exports with XLA's ops, of before native serialization": "XlaDotV2 XlaConvV2 XlaPad XlaGather XlaReduce \
XlaReduceWindow XlaDynamicSlice XlaDynamicUpdateSlice XlaSort XlaScatter XlaSelectAndScatter XlaVariadicReduceV2",
        "`jax2tf` exports by native serialization": "XlaCallModule",
        "Modules with augmentation or attached preprocessing": f"{CNN} RandomUniform RandomStandardNormal ImageProjectiveTransformV3 \
AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV HSVToRGB DecodeJpeg DecodePng DecodeImage ResizeBicubic ResizeArea ReverseV2",
        "Quantization-aware exports": f"{CNN} FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxArgs \
QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4",
        "Frozen graphs quantized to 8 bits": "QuantizeV2 Dequantize QuantizedConv2D QuantizedBiasAdd QuantizedRelu QuantizedMaxPool \
QuantizedAvgPool QuantizedConcat QuantizedMatMul QuantizedReshape Requantize RequantizationRange QuantizeDownAndShrinkRange",
    },
    "Detection, segmentation, pose, style": {
        "SSD, Faster R-CNN, EfficientDet, CenterNet, RetinaNet of the Object Detection API": f"{CNN} {BOXES} {LOOP} Size AddN Ceil",
        "The same as frozen graphs of TensorFlow 1": f"{CNN} {BOXES} {LOOP_V1} Assert",
        "Mask R-CNN, context R-CNN, keypoint heads": f"{CNN} {BOXES} Conv2DBackpropInput Sigmoid ResizeBilinear",
        "DeepLab, U-Net, HRNet": f"{CNN} SpaceToBatchND BatchToSpaceND ResizeBilinear ResizeNearestNeighbor Conv2DBackpropInput ArgMax",
        "MoveNet, PoseNet, BlazeFace": f"{CNN} {BOXES} FloorDiv FloorMod Square Sqrt",
        "Style transfer, super-resolution (ESRGAN), deblurring (MAXIM, MIRNet)": f"{CNN} Conv2DBackpropInput MirrorPad DepthToSpace \
SpaceToDepth LeakyRelu ResizeNearestNeighbor",
        "DELF, DELG (local features)": f"{CNN} {BOXES} {LOOP} Svd L2Loss",
    },
    "Text embeddings": {
        "NNLM, Swivel, Word2vec: token embeddings from strings": f"{BASE} {SPLIT} SparseFillEmptyRows SparseSegmentSqrtN SparseSegmentMean \
SparseSegmentSum StringToHashBucketFast StringJoin Unique SparseReshape",
        "ELMo": f"{BASE} {SPLIT} {LOOP_V1} DecodePaddedRaw Conv2D Max MatMul BiasAdd Sigmoid Tanh",
        "Universal Sentence Encoder (DAN and transformer)": f"{BERT} {SPLIT} SparseSegmentSqrtN UnsortedSegmentSum DynamicPartition \
DynamicStitch Bincount StringNGrams",
        "Universal Sentence Encoder multilingual, question answering": f"{BERT} {SENTENCE_PIECE} {RAGGED} Conv2D Max UnsortedSegmentSum",
        "Universal Sentence Encoder Lite (ids from the user's SentencePiece)": f"{BERT} SparseToDense SparseSegmentSqrtN",
    },
    "Text encoders and their preprocessing": {
        "BERT, ALBERT, ELECTRA, MobileBERT, LaBSE, Talking-Heads, Small BERT: encoders": f"{BERT} {LOOP}",
        "BERT preprocessing (v1-v3)": f"{BASE} {RAGGED} CaseFoldUTF8 NormalizeUTF8 StaticRegexReplace RegexSplitWithOffsets \
WordpieceTokenizeWithOffsets LookupTableFindV2 HashTableV2 TFText>RoundRobinTrim All Equal If Assert",
        "ALBERT, XLNet, T5, Sentence-T5, MuRIL, Wiki40B preprocessing": f"{BASE} {RAGGED} {SENTENCE_PIECE} CaseFoldUTF8 NormalizeUTF8",
        "Fast tokenizers of TensorFlow Text": "FastWordpieceTokenizeWithOffsets TFText>FastWordpieceDetokenize FastBertNormalize \
TFText>WhitespaceTokenizeWithOffsetsV2 WhitespaceTokenizeWithOffsets UnicodeScriptTokenizeWithOffsets TFText>FastSentencepieceTokenize",
        "Masked-language-model sampling in preprocessing": "TFText>RoundRobinGenerateMasks RandomUniform RandomShuffle Where",
        "Wiki40B, GPT-like generation loops": f"{BERT} {LOOP} {LOOP_V1} TopKV2 Multinomial MatrixBandPart",
        "TextVectorization and StringLookup inside Keras models": f"{BASE} {SPLIT} {RAGGED} LookupTableSizeV2 DenseBincount Bincount \
RaggedBincount DenseCountSparseOutput RaggedCountSparseOutput SparseCountSparseOutput StringNGrams UnicodeEncode UnicodeDecode",
        "Experts, SavedModels of TFX Transform": f"{BASE} Bucketize BoostedTreesBucketize LookupTableFindV2 StringToHashBucketFast \
SparseCross SparseCrossHashed SparseCrossV2 RaggedCross AsString StringToNumber ParseExample ParseExampleV2 ParseSingleExample DecodeCSV",
    },
    "Audio": {
        "YAMNet, VGGish, TRILL, FRILL": f"{CNN} RFFT ComplexAbs Log Gather GatherV2 Cumsum",
        "SPICE, CREPE (pitch)": f"{CNN} RFFT IRFFT ComplexAbs Conv2D ArgMax",
        "wav2vec 2.0, speech embeddings, keyword spotting": f"{BERT} Conv2D AudioSpectrogram Mfcc DecodeWav",
        "BirdNET, Perch (birds)": f"{CNN} RFFT ComplexAbs {RAGGED}",
        "Speech recognition with a CTC head (forward)": f"{BASE} CTCGreedyDecoder CTCBeamSearchDecoder CudnnRNN CudnnRNNV3",
        "Its loss in a training graph": "CTCLoss CTCLossV2",
    },
    "Video": {
        "I3D, S3D, SlowFast": f"{BASE} Conv3D MaxPool3D AvgPool3D BiasAdd Relu FusedBatchNormV3 Mean MatMul Softmax",
        "MoViNet (base and streaming)": f"{CNN} Conv3D DepthwiseConv2dNative MaxPool3D {LOOP} Cumsum",
        "Frame interpolation (FILM), Tweening ConvNet": f"{CNN} Conv3D ResizeBilinear ResizeBicubic GatherNd Conv2DBackpropInput",
        "YouTube-8M heads (frames as tf.train.SequenceExample)": "ParseSequenceExample ParseSequenceExampleV2 ParseSingleSequenceExample",
    },
    "Generators": {
        "BigGAN, CompareGAN, progressive GAN, StyleGAN": f"{CNN} Conv2DBackpropInput ResizeNearestNeighbor Tanh LeakyRelu Einsum \
RandomStandardNormal StatelessRandomNormalV2 TruncatedNormal Svd",
        "VAEs, compressors (without their entropy coders)": f"{CNN} Conv2DBackpropInput RandomStandardNormal Softplus Elu Exp Round",
        "Diffusion and GPT-like samplers in Keras": f"{BERT} {LOOP} StatelessRandomNormalV2 StatelessRandomGetKeyCounter RngReadAndSkip",
        "Entropy coders of TensorFlow Compression": "EntropyDecodeChannel EntropyEncodeChannel",
    },
    "Tables, estimators, agents": {
        "Linear and deep estimators, feature columns": f"{BASE} {SPLIT} SparseCross SparseFillEmptyRows SparseSegmentMean Bucketize OneHot",
        "Boosted trees": "BoostedTreesEnsembleResourceHandleOp BoostedTreesPredict BoostedTreesBucketize",
        "TensorFlow Decision Forests": "SimpleMLInferenceOpWithHandle",
        "TF-Agents policies": f"{BASE} MatMul BiasAdd Tanh Relu StatelessMultinomial Multinomial StatelessRandomUniformV2 ArgMax {LOOP}",
        "TF Ranking, TF Recommenders with brute-force or ScaNN search": f"{BASE} TopKV2 MatMul GatherV2 LookupTableFindV2 {RAGGED}",
        "Graph networks (TF-GNN)": f"{BASE} UnsortedSegmentSum SegmentSum SparseTensorDenseMatMul GatherV2 {RAGGED}",
    },
}
"""Families of public models by kind, and the ops that each uses on the way from inputs to outputs."""

LEFT_OUT: tuple[tuple[str, str], ...] = (
    (r"(Save|Restore|MergeV2Checkpoints|Sharded|LoadAndRemap|GenerateVocab|ReadFile|WriteFile|MatchingFiles|FileSystem|Checkpoint)",
     "reads or writes files: weights are read by thaw itself, and a graph from a stranger opens no file"),
    (r"(Iterator|MultiDevice|OneShot|Optional|Dataset|MakeIterator|CompressElement|UncompressElement|MapDefun|RecordInput)",
     "pipelines of data: give the tensors that they make (`inputs=` cuts there)"),
    (r"(Reader|Queue|Barrier|Stage|Unstage|^Map(Clear|Peek|Size|Incomplete|Unstage)|OrderedMap|Batch$|Unbatch)",
     "queues and staging of sessions: give the tensors behind them (`inputs=` cuts there)"),
    ((r"(TPU|Tpu|Infeed|Outfeed|Prelinearize|CrossReplica|Dedup|AllToAll|CollectivePermute|SparseCore|Minibatch|CooTensor|XlaSend|XlaRecv|"
     r"XlaHost|XlaReplicaId|XlaAllReduce|XlaReduceScatter|XlaSpmd|Nccl|XlaLaunch|XlaCluster|XlaSplitND|XlaConcatND|MeshS|Mesh)"),
     "TPUs and collectives: here is one device"),
    (r"(Apply(Ada|Adam|Add|Centered|Ftrl|Gradient|Keras|Momentum|Power|Proximal|RMS)|SdcaF|SdcaO|SdcaS|Accumulator)",
     "steps of TensorFlow's optimizers: Keras' optimizers train here"),
    (r"(Summary|Summaries|StatsAggregator|Debug|DumpTensor|Timestamp|Statistics)", "logs and debugging"),
    (r"(^Rpc|Send$|Recv$|RemoteCall|Session|Mutex|Worker|Copy$|CopyHost|Device|Placement)", "machines, sessions, devices"),
    (r"(PyFunc)", "Python code of the process that made the graph: nobody else has it"),
    (r"(DecodeProto|EncodeProto)", "messages described by files or by compiled code"),
    (r"(BoostedTrees|KMC2|Kmeans|CandidateSampler|Skipgram|NegTrain|ComputeAccidentalHits|NearestNeighbors)",
     "training of shallow models, and trees of estimators (removed from TensorFlow itself)"),
    (r"(Grad$|GradV2$|GradV3$|GradGrad|GradWith|GradA$|Backprop|GradBoxes|GradImage|SymbolicGradient|VariantGradient)",
     "gradients as ops of their own: they stand in training graphs only, which are not run; thaw differentiates the forward ops"),
    (r"(^Quantized|Requantiz|QuantizeDown|^Uniform(Quant|Dequant|Requant))", "arithmetic in 8 bits of kernels for Intel's library only, and of TensorFlow Lite's converter"),
    (r"(CSRSparse|SparseMatrix)", "compressed sparse rows: in no model that was at hand"),
    (r"(XlaCallModule|XlaCustomCall)", "a program that JAX compiled ahead; export with `native_serialization=False` (and XLA off)"),
    (r"^Xla", "of JAX's exports before native serialization: not done"),
    (r"^Stack(V2|Push|PushV2|Pop|PopV2|Close|CloseV2)?$",
     "stacks on which TensorFlow 1's gradients of loops keep values: in training graphs only, which are not run"),
    (r"TemporaryVariable$", "variables of one run, written in an order that only control edges say: in no model that was at hand"),
    (r"^(Batch|)I?(R|)FFT(2D|3D|ND|)$|^IRFFTND$",
     "for GPUs only, or not of any TensorFlow since 1.0: nothing that answers on a CPU to compare with"),
    (r"(TensorMap)", "maps of tensors: in no model that was at hand"),
)  # fmt: skip
"""Patterns of names of ops that are left out, and why; the first that fits counts."""

HEAD = """# What is covered

This page is generated (`make docs`) from tools/make_coverage_doc.py and the op table; a test fails when it is out of date.
[ops.md](ops.md) says what each op can do.

## Families of public models

The ops of each family are written down from its architecture and, where a model of the family was at hand, from its graph: a module
of a family may hold an op that is not in its list. `thaw inspect` gives the verdict for a given model, and names all missing ops at once.
"covered" says that each op of the list has a lowering that is tested against TensorFlow's recorded answers (or as ops.md says), not that
every module of the family was run.

| family | ops | covered |
|---|---|---|
"""


def missing(ops: str) -> list[str]:
    """Those of the named ops that neither the table nor the reading of graphs serves."""
    return sorted(set(ops.split()) - set(LOWERINGS) - BY_PASSES)


def families() -> list[str]:
    lines = []
    for kind, members in FAMILIES.items():
        lines.append(f"| **{kind}** | | |")
        for family, ops in members.items():
            gone = missing(ops)
            verdict = (
                "yes" if not gone else f"{'partly' if len(gone) < len(set(ops.split())) else 'no'}: without {', '.join(gone)}"
            )
            lines.append(f"| {family} | {len(set(ops.split()))} | {verdict} |")
    return lines


def reason(op: str) -> str:
    """Why an op is left out; empty where nobody decided that."""
    return next((why for pattern, why in LEFT_OUT if re.search(pattern, op)), "")


def text() -> str:
    """The page."""
    names = json.loads(NAMES.read_text())
    every = [n for group in names.values() for n in group]
    left = [n for n in every if n not in LOWERINGS and n not in BY_PASSES]
    served = len(every) - len(left)
    lines = [HEAD + "\n".join(families()), "", "## Ops that are left out", ""]
    lines += [
        f"TensorFlow 2.21 and TensorFlow Text 2.21 have {len(every)} ops that a graph of theirs can hold, without those of datasets, of",
        f"TensorFlow's own tests and of its runtime's insides; {served} of them run here (and {len(set(LOWERINGS) - set(every))} that only",
        f"older versions have, or that a runtime makes). The other {len(left)}:",
        "",
        "| why | ops |",
        "|---|---|",
    ]
    groups: dict[str, list[str]] = {}
    for op in left:
        groups.setdefault(reason(op), []).append(op)
    for _, why in LEFT_OUT:
        if why in groups:
            lines.append(f"| {why} | {', '.join(groups[why])} |")
    lines.append(f"| **not done**, no reason but that | {', '.join(groups.get('', []))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text())
    sys.stdout.write(f"{sum(map(len, FAMILIES.values()))} families in {TARGET}\n")
