"""TensorFlow's protobuf messages, as far as thaw reads or writes them, built at run time from one table.

The classes live in a descriptor pool and package of their own, so they coexist with an imported TensorFlow and need no
generated code. Nested names are flattened and enums are plain integers, which the wire cannot tell apart. Fields that the
table leaves out survive parsing and writing as unknown fields. Imports protobuf and errors only.
Source: tensorflow/core/framework/*.proto, tensorflow/core/protobuf/*.proto, tensorflow_hub/*.proto, keras saved_metadata.proto.
"""

from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from thaw.errors import CorruptFileError
from thaw.wire.strangers import nature_of

Message: TypeAlias = Any
"""An instance of one of the classes below; its attributes are the fields of the table."""

# "number name type"; `*` repeated, `{key: value}` map, `| group` member of a oneof.
TABLE = """
TensorShapeProto
    2 dim TensorShapeDim*
    3 unknown_rank bool
TensorShapeDim
    1 size int64
TensorProto
    1 dtype int32
    2 tensor_shape TensorShapeProto
    4 tensor_content bytes
    5 float_val float*
    6 double_val double*
    7 int_val int32*
    8 string_val bytes*
    9 scomplex_val float*
    10 int64_val int64*
    11 bool_val bool*
    12 dcomplex_val double*
    13 half_val int32*
    16 uint32_val uint32*
    17 uint64_val uint64*
    18 float8_val bytes
AttrValue
    2 s bytes | value
    3 i int64 | value
    4 f float | value
    5 b bool | value
    6 type int32 | value
    7 shape TensorShapeProto | value
    8 tensor TensorProto | value
    1 list AttrList | value
    10 func NameAttrList | value
    9 placeholder string | value
AttrList
    2 s bytes*
    3 i int64*
    4 f float*
    5 b bool*
    6 type int32*
    7 shape TensorShapeProto*
    8 tensor TensorProto*
    9 func NameAttrList*
NameAttrList
    1 name string
    2 attr {string: AttrValue}
NodeDef
    1 name string
    2 op string
    3 input string*
    4 device string
    5 attr {string: AttrValue}
VersionDef
    1 producer int32
    2 min_consumer int32
    3 bad_consumers int32*
GraphDef
    1 node NodeDef*
    4 versions VersionDef
    3 version int32
    2 library FunctionDefLibrary
FunctionDefLibrary
    1 function FunctionDef*
FunctionDef
    1 signature OpDef
    5 attr {string: AttrValue}
    7 arg_attr {uint32: ArgAttrs}
    3 node_def NodeDef*
    4 ret {string: string}
    6 control_ret {string: string}
ArgAttrs
    1 attr {string: AttrValue}
OpList
    1 op OpDef*
OpDef
    1 name string
    2 input_arg ArgDef*
    3 output_arg ArgDef*
    20 control_output string*
    4 attr AttrDef*
    17 is_stateful bool
ArgDef
    1 name string
    3 type int32
    4 type_attr string
    5 number_attr string
    6 type_list_attr string
    16 is_ref bool
AttrDef
    1 name string
    2 type string
    3 default_value AttrValue
SavedModel
    1 saved_model_schema_version int64
    2 meta_graphs MetaGraphDef*
MetaGraphDef
    1 meta_info_def MetaInfoDef
    2 graph_def GraphDef
    3 saver_def SaverDef
    4 collection_def {string: CollectionDef}
    5 signature_def {string: SignatureDef}
    6 asset_file_def AssetFileDef*
    7 object_graph_def SavedObjectGraph
MetaInfoDef
    1 meta_graph_version string
    2 stripped_op_list OpList
    4 tags string*
    5 tensorflow_version string
    6 tensorflow_git_version string
    7 stripped_default_attrs bool
    8 function_aliases {string: string}
SaverDef
    1 filename_tensor_name string
    2 save_tensor_name string
    3 restore_op_name string
    5 sharded bool
    7 version int32
CollectionDef
    1 node_list StringList | kind
    2 bytes_list BytesList | kind
    3 int64_list Int64List | kind
    4 float_list FloatList | kind
    5 any_list AnyList | kind
StringList
    1 value string*
BytesList
    1 value bytes*
Int64List
    1 value int64*
FloatList
    1 value float*
AnyList
    1 value Any*
Any
    1 type_url string
    2 value bytes
SignatureDef
    1 inputs {string: TensorInfo}
    2 outputs {string: TensorInfo}
    3 method_name string
    4 defaults {string: TensorProto}
TensorInfo
    1 name string | encoding
    4 coo_sparse CooSparse | encoding
    5 composite_tensor CompositeTensor | encoding
    2 dtype int32
    3 tensor_shape TensorShapeProto
CooSparse
    1 values_tensor_name string
    2 indices_tensor_name string
    3 dense_shape_tensor_name string
CompositeTensor
    1 type_spec TypeSpecProto
    2 components TensorInfo*
AssetFileDef
    1 tensor_info TensorInfo
    2 filename string
SavedObjectGraph
    1 nodes SavedObject*
    2 concrete_functions {string: SavedConcreteFunction}
SavedObject
    1 children ObjectReference*
    15 dependencies ObjectReference*
    4 user_object SavedUserObject | kind
    5 asset SavedAsset | kind
    6 function SavedFunction | kind
    7 variable SavedVariable | kind
    8 bare_concrete_function SavedBareConcreteFunction | kind
    9 constant SavedConstant | kind
    10 resource SavedResource | kind
    12 captured_tensor CapturedTensor | kind
    13 registered_name string
ObjectReference
    1 node_id int32
    2 local_name string
SavedUserObject
    1 identifier string
    2 version VersionDef
    3 metadata string
SavedAsset
    1 asset_file_def_index int32
SavedFunction
    1 concrete_functions string*
    2 function_spec FunctionSpec
FunctionSpec
    1 fullargspec StructuredValue
    2 is_method bool
    5 input_signature StructuredValue
SavedVariable
    1 dtype int32
    2 shape TensorShapeProto
    3 trainable bool
    6 name string
    8 experimental_distributed_variable_components SavedVariable*
SavedBareConcreteFunction
    1 concrete_function_name string
    2 argument_keywords string*
    3 allowed_positional_arguments int64
    4 function_spec FunctionSpec
SavedConstant
    1 operation string
SavedResource
    1 device string
CapturedTensor
    1 name string
    2 concrete_function string
SavedConcreteFunction
    2 bound_inputs int32*
    3 canonicalized_input_signature StructuredValue
    4 output_signature StructuredValue
StructuredValue
    1 none_value NoneValue | kind
    11 float64_value double | kind
    12 int64_value sint64 | kind
    13 string_value string | kind
    14 bool_value bool | kind
    31 tensor_shape_value TensorShapeProto | kind
    32 tensor_dtype_value int32 | kind
    33 tensor_spec_value TensorSpecProto | kind
    34 type_spec_value TypeSpecProto | kind
    35 bounded_tensor_spec_value TensorSpecProto | kind
    51 list_value ValueList | kind
    52 tuple_value ValueList | kind
    53 dict_value DictValue | kind
    54 named_tuple_value NamedTupleValue | kind
    55 tensor_value TensorProto | kind
    56 numpy_value TensorProto | kind
NoneValue
TensorSpecProto
    1 name string
    2 shape TensorShapeProto
    3 dtype int32
ValueList
    1 values StructuredValue*
DictValue
    1 fields {string: StructuredValue}
NamedTupleValue
    1 name string
    2 values PairValue*
PairValue
    1 key string
    2 value StructuredValue
TypeSpecProto
    1 type_spec_class int32
    2 type_state StructuredValue
    3 type_spec_class_name string
    4 num_flat_components int32
TrackableObjectGraph
    1 nodes TrackableObject*
TrackableObject
    1 children ObjectReference*
    2 attributes SerializedTensor*
SerializedTensor
    1 name string
    2 full_name string
    3 checkpoint_key string
BundleHeaderProto
    1 num_shards int32
    2 endianness int32
    3 version VersionDef
BundleEntryProto
    1 dtype int32
    2 shape TensorShapeProto
    3 shard_id int32
    4 offset int64
    5 size int64
    6 crc32c fixed32
    7 slices TensorSliceProto*
TensorSliceProto
    1 extent SliceExtent*
SliceExtent
    1 start int64
    2 length int64 | has_length
VariableDef
    1 variable_name string
    6 initial_value_name string
    2 initializer_name string
    3 snapshot_name string
    4 save_slice_info_def SaveSliceInfoDef
    5 is_resource bool
    7 trainable bool
SaveSliceInfoDef
    1 full_name string
    2 full_shape int64*
    3 var_offset int64*
    4 var_shape int64*
FingerprintDef
    1 saved_model_checksum uint64
    7 uuid string
ModuleDef
    1 format int32
    2 required_features string*
ModuleAttachment
    1 key string
    2 value bytes
SavedMetadata
    1 nodes KerasObject*
KerasObject
    2 node_id int32
    3 node_path string
    4 identifier string
    5 metadata string
"""

PACKAGE = "thaw.formats"
_SCALARS = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "fixed32": 7, "bool": 8, "string": 9, "bytes": 12,
    "uint32": 13, "sint64": 18,
}  # fmt: skip
_MESSAGE, _ONE, _REPEATED = 11, 1, 3


def _typed(field: Message, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _MESSAGE, f".{PACKAGE}.{kind}"


def _build() -> dict[str, Message]:
    """The message classes of the table, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="thaw_formats.proto", package=PACKAGE, syntax="proto3")
    message: Message = None
    for line in TABLE.strip().splitlines():
        if not line.startswith(" "):
            message = file.message_type.add(name=line)
            continue
        declaration, _, oneof = line.partition(" | ")
        number, name, kind = declaration.split(maxsplit=2)
        field = message.field.add(name=name, number=int(number), label=_ONE)
        if oneof:
            if oneof not in [o.name for o in message.oneof_decl]:
                message.oneof_decl.add(name=oneof)
            field.oneof_index = [o.name for o in message.oneof_decl].index(oneof)
        if kind.startswith("{"):
            key, value = kind.strip("{}").split(": ")
            entry = message.nested_type.add(name="".join(w.capitalize() for w in name.split("_")) + "Entry")
            entry.options.map_entry = True
            _typed(entry.field.add(name="key", number=1, label=_ONE), key)
            _typed(entry.field.add(name="value", number=2, label=_ONE), value)
            field.label = _REPEATED
            _typed(field, f"{message.name}.{entry.name}")
        else:
            field.label = _REPEATED if kind.endswith("*") else _ONE
            _typed(field, kind.rstrip("*"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{m.name}")) for m in file.message_type}


MESSAGES = _build()


def parse(kind: str, data: bytes | memoryview, origin: str) -> Message:
    """The message of that kind (a name of the table) in `data`.

    Args:
        kind: a name of the table.
        data: the serialized bytes.
        origin: where they come from, for the error.

    Raises:
        CorruptFileError: the bytes are not such a message, or nest too deep.
    """
    message = MESSAGES[kind]()
    try:
        message.ParseFromString(bytes(data) if isinstance(data, memoryview) else data)
    except (DecodeError, RuntimeError, ValueError) as error:
        nature = nature_of(bytes(data[:512])).rstrip(".")
        what = f"its {len(data)} bytes do not parse as a {kind} protobuf message" + (f" ({nature})" if nature else "")
        raise CorruptFileError(origin, what) from error
    return message


def new(kind: str, **fields: object) -> Message:
    """A message of that kind with `fields` set."""
    return MESSAGES[kind](**fields)
