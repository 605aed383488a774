/** The name of a layer file, in the folder of the layer in the image store. */
export const layerFileName = 'layer.erofs';
