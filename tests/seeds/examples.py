"""The twelve examples of the four seed documents: our copies of their code, in which only the import and the handle differ.

`hub` is thaw, `tf` a stand-in whose keras is Keras 3. Where a document leaves something to its reader ("...rest of your
model"), the code ends there and the test goes on. In FEATURE_LAYERS the expression `get_config()["build_model"]`, which no JSON
config can hold, reads `build_model`.
"""

ELMO_BASIC = """
emlo_layer = hub.KerasLayer(HANDLE, trainable=True)

print(emlo_layer.layers)

for layer in emlo_layer.layers:
    if "dense" in layer.name.lower():
        layer.trainable = True

model = tf.keras.Sequential([
  emlo_layer,
  tf.keras.layers.Dense(10, activation='softmax')
])
"""

ELMO_BY_NAME = """
emlo_layer = hub.KerasLayer(HANDLE, trainable=False)

for layer in emlo_layer.layers:
  if layer.name == "dense_out":
      layer.trainable = True
"""

ELMO_NESTED = """
emlo_layer = hub.KerasLayer(HANDLE, trainable=False)

def set_trainable_recursive(layer, trainable=True):
  layer.trainable = trainable
  for sublayer in layer.layers:
    set_trainable_recursive(sublayer, trainable)

target_layer = emlo_layer.layers[2]

set_trainable_recursive(target_layer)
"""

CLASSIFICATION = """
mobilenet_v2 = hub.KerasLayer(HANDLE, trainable=False)

mobilenet_v2.trainable = True
print(f"Is Mobilenet V2 trainable? {mobilenet_v2.trainable}")

input_tensor = tf.keras.layers.Input(shape=(224, 224, 3))
output_tensor = mobilenet_v2(input_tensor)
model = tf.keras.Model(inputs=input_tensor, outputs=output_tensor)

print(f"Trainable parameters: {sum([tf.keras.backend.count_params(p) for p in model.trainable_variables])}")
"""

FEATURE_VECTOR = """
feature_extractor = hub.KerasLayer(HANDLE, trainable=False)

input_tensor = tf.keras.layers.Input(shape=(224, 224, 3))
features = feature_extractor(input_tensor)
output_layer = tf.keras.layers.Dense(10, activation='softmax')(features)
model = tf.keras.Model(inputs=input_tensor, outputs=output_layer)

model.layers[1].trainable = True
print(f"Is feature extractor layer trainable? {model.layers[1].trainable}")


print(f"Trainable parameters: {sum([tf.keras.backend.count_params(p) for p in model.trainable_variables])}")

for p in model.trainable_variables:
  print(f"Trainable layer parameters: {p.name}")
"""

FEATURE_LAYERS = """
mobilenet_v2_feature = hub.KerasLayer(HANDLE, trainable=False)


input_tensor = tf.keras.layers.Input(shape=(224, 224, 3))
features = mobilenet_v2_feature(input_tensor)
output_layer = tf.keras.layers.Dense(10, activation='softmax')(features)
model = tf.keras.Model(inputs=input_tensor, outputs=output_layer)


for layer in mobilenet_v2_feature.trainable_variables:
    print(layer)

underlying_keras_model = mobilenet_v2_feature.build_model

for layer in underlying_keras_model.layers:
    if "block_16_expand" in layer.name:
        layer.trainable = True
        print(f"Layer {layer.name} is now trainable")
        break


print(f"Trainable parameters: {sum([tf.keras.backend.count_params(p) for p in model.trainable_variables])}")
"""

_TEXT = """
embedding_layer = hub.KerasLayer(HANDLE, input_shape=[], dtype=tf.string, trainable=TRAINABLE)

sentences = tf.constant(["This is a great sentence.", "Another one here!", "Short"])

embeddings = embedding_layer(sentences)

print("Embedding shape:", embeddings.shape)

dense = tf.keras.layers.Dense(128, activation="relu")
output = tf.keras.layers.Dense(2, activation="softmax")

x = dense(embeddings)
output_classification = output(x)

print("Output Shape:", output_classification.shape)
"""

TEXT_FROZEN = _TEXT.replace("TRAINABLE", "False")
TEXT_TRAINED = _TEXT.replace("TRAINABLE", "True")

IMAGE_CALL = """
image_layer = hub.KerasLayer(HANDLE)

image = tf.random.normal(shape=(1,224,224,3))

output_logits = image_layer(image)
print("Output Shape", output_logits.shape)
"""

VGG = """
base_model = VGG16(weights='imagenet', include_top=False, input_shape=(224, 224, 3))
model = keras.Sequential([base_model, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, activation='softmax')])

for layer in base_model.layers:
    layer.trainable = True

model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])
model.fit(X_train, y_train, epochs=10)
"""
"""The document's first two examples are this same code; only the words beside them differ."""

SUB_MODEL = """
model = keras.models.Sequential([
    keras.layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)),
    keras.layers.MaxPooling2D((2, 2)),
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation='softmax')
])

sub_model = keras.models.Model(inputs=model.input, outputs=model.layers[2].output)

for layer in sub_model.layers:
    layer.trainable = True

model.compile(optimizer='adam', loss='sparse_categorical_crossentropy', metrics=['accuracy'])

model.fit(X_train, y_train, epochs=10)
"""
