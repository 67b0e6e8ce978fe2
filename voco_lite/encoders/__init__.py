"""Encoders: from crops to feature maps and pooled features."""

from voco_lite.encoders import conv as conv
from voco_lite.encoders import plain_conv as plain_conv
from voco_lite.encoders import swin as swin
from voco_lite.encoders.conv import ConvEncoder
from voco_lite.encoders.registry import ENCODERS, Encoder, EncoderOutput, build_encoder, register
from voco_lite.encoders.swin import SwinEncoder

__all__ = ["ENCODERS", "ConvEncoder", "Encoder", "EncoderOutput", "SwinEncoder", "build_encoder", "register"]
